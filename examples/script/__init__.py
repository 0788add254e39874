"""A script that trains alone (`before.py`), and in a federated training (`after.py`)."""
