# Written by `make templates` from config/cloudformation/guard.yaml, which has the comments. Change it there.

variable "targets" {
  type        = list(string)
  description = "Ids of the organisational units or accounts whose roles may be proxies"
}
