"""What fast means here, as ratios of two things timed alternately in one run: `python -m benchmarks`.

An absolute time moves with the machine and with what else it is doing; the ratio of two times taken in turns hardly
does. Every row of the table is declared as data beside the function that measures it, one file for each subject. Peers
(torch, torchdiffeq, SciPy) are optional: a row whose peer is not installed says so, and is neither pass nor fail.
"""
