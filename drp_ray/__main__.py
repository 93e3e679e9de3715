"""`python -m drp_ray` is the command line."""

from drp_ray.cli import main

if __name__ == "__main__":
    main()
