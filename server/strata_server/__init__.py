"""Strata's server: runs only the part of a network between where a request enters and where it leaves."""
