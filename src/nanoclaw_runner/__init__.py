"""What runs inside the sandbox: reads one `ContainerInput`, drives the provider's CLI, emits events (`nanoclaw.wire`).

It is started for every Run, so nothing here may be slow to import: no asyncio, dataclasses or pathlib before the
provider's CLI has been started.
"""
