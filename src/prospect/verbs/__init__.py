"""The commands as functions: the same arguments and defaults, typed results in place of what is printed.

They write what the commands write, and print nothing. What has no argument here (servers, rendering) is an argument of
the function that each one calls, which is named in its text.
"""
