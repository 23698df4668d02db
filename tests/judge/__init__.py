"""Every client with every server. `make judge` runs these tests, `make test` does not."""
