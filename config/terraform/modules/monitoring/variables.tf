# Written by `make templates` from config/cloudformation/monitoring.yaml, which has the comments. Change it there.

variable "name" {
  type        = string
  description = "The name of what this module makes, as a stack has one"
}

variable "kms_key" {
  type        = string
  description = "ARN of a KMS key for topic and log, whose policy lets cloudwatch.amazonaws.com, aps.amazonaws.com and CloudWatch Logs use it. AWS's own key for SNS does not let the first two, so alarms would be lost without a sign"
  default     = null
}

variable "log_retention" {
  type        = number
  description = "Days that the log of the workspace is kept"
  default     = 90
}
