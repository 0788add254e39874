"""Logistic regression on a table: three clinics and the breast-cancer data set."""
