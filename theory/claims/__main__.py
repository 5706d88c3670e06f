from theory.claims.registry import page

print(page(), end="")
