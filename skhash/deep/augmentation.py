class ImageAugmentation: pass
class FeatureNoise: pass
