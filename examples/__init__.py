"""Examples, each run by the tests: a survey of source files, pictures, workers in PHP and in Node, a shared daemon,
and the tests of a pool.
"""
