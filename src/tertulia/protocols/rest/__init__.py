"""HTTP under /v1: resources, problems and the OpenAPI document."""
