"""concurrent.futures: jobs of the program's own in threads of a pool."""
import concurrent.futures
import gc

gc.disable()


def collatz(n):
    return 0 if n == 1 else 1 + collatz(n // 2 if n % 2 == 0 else 3 * n + 1)


def steps(n):
    while n != 1:
        yield n
        n = n // 2 if n % 2 == 0 else 3 * n + 1


def job(n):
    if n % 50 == 49:
        raise ValueError(n)
    return collatz(n + 1) - sum(1 for _ in steps(n + 1))


def told(future):
    return future.exception() is not None


# Not in a function: which of its ways submit() takes depends on time.
with concurrent.futures.ThreadPoolExecutor(4) as pool:
    futures = []
    for n in range(400):
        futures.append(pool.submit(job, n))
print(sum(map(told, futures)), {future.result() for future in futures if not told(future)})
