"""The runtimes: Model -> Artifact -> Session, each behind the same four functions.

``backends.registry`` finds a back end by name, ``backends.base`` says what one must do, ``backends.worker``
runs native code in a process of its own. Importing this package imports none of them.
"""
