"""Tests of compute; Ray, HTTP and files are real, S3 is moto's server on loopback."""
