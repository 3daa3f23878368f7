"""WhatsApp: see `channel.WhatsAppChannel`.

The library lives in a worker process (`worker/`); what is here speaks to it over a socket and imports nothing of it.
"""
