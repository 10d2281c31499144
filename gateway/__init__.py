"""A self-hosted, multi-tenant, API-compatible gateway in front of a pool of SD.Next image servers."""
