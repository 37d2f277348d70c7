"""`python run.py method=datadam dataset=cifar10 ipc=10`; `python run.py --help` explains the rest."""

from distill_bench.app import main

if __name__ == "__main__":
    main()
