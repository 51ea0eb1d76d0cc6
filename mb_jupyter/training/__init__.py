"""The training program: self-contained, copied out and run as ``python -m training``, here and on Azure."""
