"""The intermediate representation: a small frozen discrete-time graph, its meaning, and its form on disk.

``nodes.py`` holds the node kinds with their difference equations, ``graph.py`` the graph and its shapes, ``kinds.py``
what travels on an edge (binary, integer, graded, real), ``interpret.py`` the one slow, obvious meaning of it all, and
``nir_io.py`` the NIR file. Nothing here imports torch.
"""
