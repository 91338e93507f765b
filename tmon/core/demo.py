"""What the demo is called: the command that adds and removes it, and the page that explains it."""

FILE = "tmon demo"  # its name in the table imports
AREA = "Demo house"
NODES = ("attic", "living-room", "cellar")
LICENSE_URL = "https://github.com/numenta/NAB/blob/master/LICENSE.txt"
DESCRIPTION = "Demo: temperatures of 2013 and 2014, moved in time. Numenta, MIT licence"
NOTE = (
    "Real temperatures of 2013 and 2014, moved in time so that they end when they were added, with"
    " five hours left out. From the Numenta Anomaly Benchmark, https://github.com/numenta/NAB:"
    " copyright Numenta Inc., MIT licence"
)
