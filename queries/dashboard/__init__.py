"""The dashboard: the report of a store in a browser, live, with a box for SQL. For this machine only.

guard.py         who is let in: a token, a cookie, this machine's name, and what the page may load
web_app.py       the addresses
live_page.py     the report and the progress, made anew when the store has changed
sql_process.py   the SQL box: a process of its own, with limits
serving.py       the socket and the server
opening.py       opens the browser, without the token on a command line
"""
