"""An engine beside the reference queue core: the same calls to both, in drawn programs.

After each step the answers and all that can be seen are compared.  Programs have several sessions,
crashes of the broker actor and, where the engine says that it can, of its process, several processes
at once, calls that are repeated as after a lost answer, and fences that are stale or forged.

* `calls`: what is drawn; `seats`: who works on it, and the choosing among them.
* `reference`: the queue core, led along the way that the engine has taken.
* `pair`: one engine and one reference; `looks`: what can be seen of both.
* `accepting`, `working`, `requests`, `breaking`: the rules; `machine`: all of them.
"""
