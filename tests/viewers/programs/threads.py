"""Four threads, one renamed, one still alive at the end, and a generator that each of three resumes in turn."""

import threading


def count(limit):
    for number in range(limit):
        yield number


def work(numbers, mine, following):
    for _ in range(10):
        mine.acquire()
        next(numbers)
        fib(6)
        following.release()


def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)


def renamed():
    threading.current_thread().name = "after"
    fib(3)


def wait_for_ever():
    threading.Event().wait()


def main():
    numbers = count(30)
    turns = [threading.Semaphore(n) for n in (1, 0, 0)]
    threads = [threading.Thread(target=work, args=[numbers, turns[n], turns[(n + 1) % 3]], name=name)
               for n, name in enumerate(["one", "two", "three"])]
    threads.append(threading.Thread(target=renamed, name="before"))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    threading.Thread(target=wait_for_ever, name="daemon", daemon=True).start()


main()
