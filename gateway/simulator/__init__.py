"""Simulations that stand in for GPUs: a simulated SD.Next server and the pool simulator."""
