"""The frozen backbone as the device will run it, and the features that it gives.

deploy.py turns a backbone into its deployed graph; extract.py runs that graph over images on all cores;
cache.py keeps what was computed; augment.py makes further views of training images.
"""
