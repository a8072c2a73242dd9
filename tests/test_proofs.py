"""The proof of the simulation takes in every property there is."""

from tests.proof import properties


def test_the_proof_of_the_simulation_knows_the_properties() -> None:
    modules = {what.module for what in properties()}
    assert {
        f"tests.simulation.test_{name}" for name in ("links", "cluster", "rooms", "kernel", "supervisor")
    } <= modules
