module kuma-aws-iam/integrations/go

go 1.20
