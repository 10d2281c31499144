"""A simulated SD.Next server: one ASGI app that behaves, and misbehaves, as a real one was observed to.

Start here: `app.create_simulated_sdnext` builds the app, `listener.SimulatedServer` puts it on a socket. The pure rules
(checkpoints, LoRAs, options, sizes, samplers, infotext, pictures) know no HTTP; `engine` owns the lock and the time.
Every rule was observed on SD.Next 058a7f0cf unless its docstring says otherwise.
"""
