# A whole mesh on ECS, as an example to copy: network, database, monitoring, control plane, a zone egress, and the demo of two services.
# Reader roles (modules/reader-account) and the tag guard (modules/guard) belong to other accounts and have plans of their own.
#
#   terraform init && terraform apply -var-file mesh.tfvars
#
# Before: the keys and their secrets (docs/how-to/deploy-with-terraform.md).

module "network" {
  source = "./modules/network"
  name   = "${var.name}-network"
}

module "monitoring" {
  source = "./modules/monitoring"
  name   = "${var.name}-monitoring"
}

module "database" {
  source      = "./modules/database"
  name        = "${var.name}-database"
  network     = module.network.network
  alarm_topic = module.monitoring.alarm_topic
}

module "control_plane" {
  source                   = "./modules/control-plane"
  name                     = "${var.name}-control-plane"
  network                  = module.network.network
  audience                 = var.audience
  authorized_accounts      = var.authorized_accounts
  service_image            = var.service_image
  kuma_cp_image            = var.kuma_cp_image
  database_host            = module.database.host
  database_password_secret = module.database.password_secret
  dataplane_key_secret     = var.secrets.dataplane_key
  dataplane_key_id         = "dataplane-1"
  kuma_version             = var.kuma_version == "3.0-or-later" ? "3.0-or-later" : "2.14-or-earlier"
  zone_key_secret          = var.secrets.zone_key
  zone_key_id              = var.secrets.zone_key == null ? null : "zone-1"
  certificate_secret       = var.secrets.certificate
  certificate_key_secret   = var.secrets.certificate_key
  caller_token_secret      = var.secrets.caller_token
  collector_image          = var.collector_image
  metrics_url              = module.monitoring.remote_write_url
  metrics_workspace        = module.monitoring.workspace
  alarm_topic              = module.monitoring.alarm_topic
}

module "egress" {
  source                       = "./modules/zone"
  name                         = "${var.name}-egress"
  network                      = module.network.network
  proxy_type                   = "egress"
  audience                     = var.audience
  agent_image                  = var.service_image
  kuma_dp_image                = var.kuma_dp_image
  kuma_version                 = var.kuma_version
  certificate_authority_secret = var.secrets.certificate_authority
  caller_token_secret          = var.secrets.caller_token
  alarm_topic                  = module.monitoring.alarm_topic
  control_plane_host           = module.control_plane.host
}

module "demo" {
  source                       = "./modules/demo"
  name                         = "${var.name}-demo"
  network                      = module.network.network
  audience                     = var.audience
  demo_image                   = var.demo_image
  agent_image                  = var.service_image
  kuma_dp_image                = var.kuma_dp_image
  kuma_version                 = var.kuma_version
  certificate_authority_secret = var.secrets.certificate_authority
  caller_token_secret          = var.secrets.caller_token
  control_plane_host           = module.control_plane.host
}
