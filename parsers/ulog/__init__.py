"""PX4 ULog flight logs."""
