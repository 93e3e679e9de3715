"""Runs stages on Ray: what is pending, how far it is, and the cluster it runs on."""
