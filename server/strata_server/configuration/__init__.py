"""What the folder of a model says of how its versions are served: strata.toml, or Triton's config.pbtxt."""
