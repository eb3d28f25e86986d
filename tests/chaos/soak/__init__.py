"""A soak: the real `searchflow up` plays a day with everything that goes wrong in one, and every alarm must be true.

    python -m tests.chaos.soak --minutes 4 --seed 7

A journal holds each cause and what it must produce within which time. At the end each alarm, failed run, closed gate and
unwell status is matched to a cause, the books are balanced by event id, and the marts are compared with a rebuild.
"""
