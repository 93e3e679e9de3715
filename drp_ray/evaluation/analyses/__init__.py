"""What explains the scores of users: how unique they are, how long they write, what sets them apart. Pure functions."""
