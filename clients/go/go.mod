module optim

go 1.19
