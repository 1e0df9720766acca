module terway-controlplane.sim/vpc-switch

go 1.25
