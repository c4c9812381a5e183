"""The controller, an emulated ECS and a control plane that issues tokens: ``make demo-controller``."""
