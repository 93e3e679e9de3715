"""`python -m drp_ray` is the command line."""

from drp_ray.cli import main

main()
