"""The stand-in for Azure Machine Learning: the unmodified SDK talks to it over HTTPS on loopback.

``README.md`` beside this file says how a test uses it. From the outside in::

    fixtures.py     the pytest fixture `azure`: environment, reset for each test, checks after each test
    emulator.py     Azure: what a test holds in its hand; starts and stops everything
    proxy.py        the CONNECT proxy: knows which hosts exist, refuses and records all others
    server.py       one TLS server: finds the route, applies faults, records the exchange
    routes.py       the route table: method, host + path, function
    login.py arm.py computes.py assets.py jobs.py history.py mlflow.py     what the routes answer
    runner.py       executes a submitted command job in processes
    blobs.py        Azurite, Microsoft's own stand-in for blob storage, as a child process
    swagger.py      Microsoft's swagger files as JSON Schema
    checks.py       what is asserted of all exchanges after a test
"""
