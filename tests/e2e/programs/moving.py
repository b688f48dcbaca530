"""Generators that go from thread to thread, many threads one after another and at once."""
import gc
import threading

gc.disable()


def relay():
    k = 0
    while True:
        k = (yield k + work(k)) or k + 1


def work(n):
    return sum(part(n))


def part(n):
    for k in range(n % 5):
        yield k


def take(shared, results, n):
    for _ in range(n):
        results.append(next(shared))


def turns(shared, turn, number, others, results):
    """Takes one value whenever it is its turn."""
    for _ in range(100):
        turn[number].acquire()
        results.append(next(shared))
        turn[(number + 1) % others].release()


def alone(n):
    return [sum(part(k)) for k in range(n)]


one, results = relay(), []
for _ in range(20):
    thread = threading.Thread(target=take, args=(one, results, 10))
    thread.start()
    thread.join()
take(one, results, 10)
one.close()

shared = relay()
turn = [threading.Lock() for _ in range(3)]
for lock in turn[1:]:
    lock.acquire()
turn[0].acquire()
threads = [threading.Thread(target=turns, args=(shared, turn, k, 3, results)) for k in range(3)]
threads += [threading.Thread(target=alone, args=(300,)) for _ in range(4)]
for thread in threads:
    thread.start()
turn[0].release()
for thread in threads:
    thread.join()
shared.close()
print(len(results), results[-1])
