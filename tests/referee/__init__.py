"""The referee: a real Erlang. Random trees of supervisors, and what happens to them, run on ours and on Erlang's supervisor.

    generator.py ── Scenario ──┬──> erlang.py (referee.erl) ──> log ──┐
      (scenario.py)            └──> ours.py ──────────────────> log ──┴──> match.py: equal, or the smallest scenario in
                                                                           which they differ (shrink.py)

    tests/test_referee.py       some hundreds in every run of the tests, and cases.py; without an Erlang against its recorded logs
    make proof referee          5,000 new ones
    planted.py                  deviations from OTP, each of which the scenarios find

README.md says what is compared, and what is not since it is meant to be different.
"""
