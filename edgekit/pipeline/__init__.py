"""The order of stages: recipe -> plan -> candidates -> proofs -> choice -> bundle. One file per verb."""
