"""The tables of the paper on CCR, of the numbers of a sweep; what it prints stands beside them.

``kinds`` says which tables there are, ``methods`` which runs are whose, ``layout`` lays rows out,
``notes`` says what they are and lack, ``printed`` knows the paper's values, ``tables`` makes all.
"""
