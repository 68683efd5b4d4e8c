"""`tertulia chat`: the terminal client.

`talk` holds one signed-in person's view of the conversations and knows no widget; the widgets show it
and hand it what the person does.  Whatever other people wrote passes through `safe` before it is shown.
"""
