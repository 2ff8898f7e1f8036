"""The verification report: which promise was tried how hard, and what was not.

`evidence` is what a run of the tests left behind, `findings` what follows from it; `text`, `markdown`
and `as_json` say it; `collecting` is pytest's side.
"""
