# What a developer runs; .ci/run uses the same commands. `make quick` takes under a minute on two cores.
export MPLBACKEND = Agg
# The tests take every core as a process; threads of BLAS beside them would only stand in their way.
export OMP_NUM_THREADS = 1
export OPENBLAS_NUM_THREADS = 1

PARALLEL = --numprocesses=auto --dist=loadfile

.PHONY: quick tests docs lint slow pages generated minimum frameworks

quick:  # every module once
	pytest $(PARALLEL) -m "quick and not slow" tests theory gpn

tests:  # everything but pages, notebooks and long studies
	pytest $(PARALLEL) -m "not docs and not slow" tests theory gpn

docs:  # what README, pages and notebooks show, executed; then the pages as Sphinx builds them
	pytest $(PARALLEL) --nbmake -m "docs and not slow" tests/docs notebooks
	$(MAKE) pages

generated:  # the pages that are made from the code
	python -m theory.claims > docs/claims.md
	python docs/commands.py > docs/commands.md
	python docs/badges.py

pages:
	python -m sphinx -q -W --keep-going docs build/docs

slow:  # long statistical studies
	pytest $(PARALLEL) -m slow

frameworks:  # what needs PyTorch and JAX: pip install -e ".[test,torch,jax]"
	pytest $(PARALLEL) tests/gpn/test_frameworks.py tests/gpn/probing tests/gpn/checking/test_export_frameworks.py \
	  tests/theory/activations/test_frameworks.py gpn/torch.py gpn/jax.py gpn/probing

minimum:  # the declared minimum of every dependency, in a fresh environment of Python 3.11
	.ci/minimum

lint:
	ruff check .
	ruff format --check .
	mypy
	lint-imports --no-logo
