# Written by `make templates` from config/cloudformation/database.yaml, which has the comments. Change it there.

variable "name" {
  type        = string
  description = "The name of what this module makes, as a stack has one"
}

variable "network" {
  type = object({
    vpc                          = string
    subnets                      = list(string)
    cluster                      = string
    namespace                    = string
    dns_namespace                = string
    proxy_security_group         = string
    load_balancer_security_group = string
    control_plane_security_group = string
    database_security_group      = string
    exec_log_group_arn           = string
  })
  description = "The outputs of the module network"
}

variable "instance_class" {
  type        = string
  description = "The size of each database server"
  default     = "db.t4g.medium"
}

variable "engine_version" {
  type        = string
  description = "Major version of PostgreSQL; AWS applies minor versions in the maintenance window"
  default     = "17"
}

variable "parameter_group_family" {
  type        = string
  description = "The family that belongs to engine_version"
  default     = "postgres17"
}

variable "storage" {
  type        = number
  description = "Storage at the beginning, in GiB"
  default     = 20
}

variable "max_storage" {
  type        = number
  description = "The size up to which RDS increases the storage by itself, in GiB"
  default     = 100
}

variable "multi_az" {
  type        = bool
  description = "A second server in another zone; it doubles the price"
  default     = true
}

variable "backup_retention" {
  type        = number
  description = "Days that automatic backups are kept"
  default     = 14
}

variable "deletion_protection" {
  type        = bool
  description = "Refuse to delete the database; deleting the module leaves a snapshot in any case"
  default     = true
}

variable "authority" {
  type        = string
  description = "The authority of RDS that signs the server's certificate; the control plane gets the bundle of the region, which has it"
  default     = "rds-ca-rsa2048-g1"
}

variable "kms_key" {
  type        = string
  description = "ARN of a KMS key for storage, backups, password and Performance Insights. Without it, AWS's own keys"
  default     = null
}

variable "alarm_topic" {
  type        = string
  description = "ARN of an SNS topic for the alarms"
  default     = null
}
