"""The report of one or more runs: one HTML file with what they scored and with every user to look into."""
