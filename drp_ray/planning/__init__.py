"""What a job will cost, before it is run: `drp-ray plan`."""
